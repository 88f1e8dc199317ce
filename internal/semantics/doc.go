// Package semantics holds tests of what a program means: compiled nets, run op
// by op on the cpu backend in float64, against the naive reading of package
// reference.
//
//	model.Net --lower.Train--> ir.Program --machine--> losses, gradients, statistics --+
//	    |                                                                              = ?
//	    +------reference.Start, Batch, Update--------> losses, gradients, statistics --+
//
// What is shown, beside the comparison itself for every kind of layer, unit
// arrangement, tie and loss: that a loss reaches its unit and nothing else, to
// the bit; that losses over the batch do not depend on how it is cut; that
// kept and recomputed frames, lean and pipelined plans and Gorgonia's graphs
// give the same bytes; and that each stage costs what was promised, counted.
//
// There is nothing here but tests.
package semantics
