// Package vector is the assembly of the fast tiers of graphs/cpu: small kernels
// for AVX-512 and for AVX2 with FMA, written by the generator in gen.
//
//	gen (avo) --> *_amd64.s   kernels, nothing but inner loops
//	              *_amd64.go  their declarations, and the table of them
//	Sets()    --> *Set        the kernels that this processor can run
//
// A kernel takes a pointer to a struct of words. It checks nothing, calls
// nothing, and touches exactly the memory its arguments name: the last vector
// of a row is read and written under a mask. How work is cut, and in which
// order sums are added, is graphs/cpu's business.
package vector

//go:generate go -C gen run . -family conv -pkg vector -out ../conv_amd64.s -stubs ../conv_amd64.go
//go:generate go -C gen run . -family depthwise -pkg vector -out ../depthwise_amd64.s -stubs ../depthwise_amd64.go
//go:generate go -C gen run . -family pool -pkg vector -out ../pool_amd64.s -stubs ../pool_amd64.go
//go:generate go -C gen run . -family outer -pkg vector -out ../outer_amd64.s -stubs ../outer_amd64.go
//go:generate go -C gen run . -family peak -pkg vector -out ../peak_amd64.s -stubs ../peak_amd64.go
//go:generate go -C gen run . -family norm -pkg vector -out ../norm_amd64.s -stubs ../norm_amd64.go
//go:generate go -C gen run . -family softmax -pkg vector -out ../softmax_amd64.s -stubs ../softmax_amd64.go
//go:generate go -C gen run . -family elementwise -pkg vector -out ../elementwise_amd64.s -stubs ../elementwise_amd64.go
//go:generate go -C gen run . -family update -pkg vector -out ../update_amd64.s -stubs ../update_amd64.go
//go:generate go -C gen run . -family table -out ../table_amd64.go
