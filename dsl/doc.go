// Package dsl is the text side of the .loco language: it reads programs into a
// syntax tree and writes trees back in one layout. It knows no meaning; which
// word takes what is for package check to say.
//
// In: the bytes of a file. Out: a File with the place of every word, and a
// diag.List with at most one error per statement. What always holds: Parse
// never panics and never needs much more than the bounds say, whatever the
// bytes; every place lies within the file; Format(Parse(Format(f))) is
// Format(f).
//
//	bytes --checkBytes--> text --read--> tokens --layout--> heads and blocks
//	                                                          |
//	      File <--builder-- nodes <--grammar (participle)-- head
//
// # The language on one page
//
//	// a comment
//	loco 1                                    the version comes first
//	param width = 32                          settable: -D width=64
//	data  { train cifar10("cifar-10"); test cifar10("cifar-10") }
//	views { crop 32 scale=0.3..1; flip }      two random draws per image
//	block basic(out, stride=1) { ... }        a layer of one's own
//	stage s1 { conv 3x3 width; norm; relu }   layers with one set of weights
//	stage s2 { basic(2*width, stride=2) }     a call: "(" directly after the name
//	decoder proj { pool mean; dense 128 }     what a loss sees the stage through
//	unit low  = s1 -> s2 : proj               stages, then a decoder
//	unit high = s2 -> s3 : proj
//	overlap s2 in low, high                   a stage two units hold
//	train { batch 256; epochs 20; ... }
//	readout linear { on s3; every 5 }         how the result is judged
//
// A statement is a word, arguments separated by blanks, and perhaps a block in
// braces. It ends with its line, with ";" or with its block; only within ( )
// and [ ] does it go on over several lines. Arguments are values, key=value, or
// one of the signs -> : and the comma. Values are numbers, sizes such as 3x3,
// strings, names, calls, lists, ranges 0.3..1 and arithmetic. SPEC.md is the
// full reference.
//
// # Words
//
// The same in the language, the code, the metrics and the messages:
//
//	stage       a named run of layers with one set of weights; the smallest
//	            thing a unit is made of
//	decoder     layers that turn a stage's output into the vector a loss sees;
//	            every unit has its own; thrown away after training
//	unit        consecutive stages, a decoder and a loss; gradient stops at its
//	            input; it owns the stages that no lower unit holds: it runs,
//	            updates and stores them
//	overlap     a stage that two or more units hold, declared as such
//	view        one random augmentation of an image; a contrastive loss compares
//	            two
//	batch       the images of one weight update
//	microbatch  the slice of a batch that travels through the units at once
//	frame       the memory one microbatch in flight occupies in one unit
//	sweep       one pass of input gradients down through a stage
//	method      which units a file is cut into: loco, gim, e2e
//	readout     a classifier trained on frozen features, to judge them
//	plan        all that is known before running: units, shapes, parameters,
//	            FLOPs, memory, gradient reach, waits
package dsl
