// Package runtime trains a checked program: it opens the data, builds the
// units' subgraphs, joins them into a pipeline, judges the encoder by readouts
// and reports what goes on.
//
//	model.Net --Prepare--> Run --Train--> Result
//
//	source.Loader --images--> unit 0 --map--> unit 1 --map--> unit 2     pipeline
//	                            |  <-gradient-   |  <-gradient-  |
//	                            +---- BatchReport per batch -----+--> metrics, Events
//	                            +---- snapshot at barriers ------+--> readouts
//
// Every part is a package of its own: source, pipeline, optim, readout, guard and
// metrics know nothing of each other, and this package is the only place where
// they meet. What is written to disk, packages export and journal, hangs on
// Events and Result.
//
// # What always holds
//
// The same program, data, binary, device kind and kernel tier give the same
// bytes of weights after every batch, whatever the workers, the depth, the
// memory and who looks on. Readouts run on copies, never on live weights. Train
// ends by its context, by Stop or by an error with none of its goroutines left.
//
// A number that is not finite ends the run at the batch in which it appears,
// before the update, or that update is left out. Where it ends the run, the
// batch is run again in one goroutine and every result looked at, to say in
// which op it began (locate.go).
package runtime
