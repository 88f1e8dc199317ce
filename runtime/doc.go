// Package runtime trains a checked program: it opens the data, builds the
// units' subgraphs, joins them into a pipeline, judges the encoder by readouts
// and reports what goes on.
//
//	model.Net --Prepare--> Run --Train--> Result
//
//	source.Loader --images--> unit 0 --map--> unit 1 --map--> unit 2     pipeline
//	                            |  <-gradient-   |  <-gradient-  |
//	                            +---- BatchReport per batch -----+--> metrics, journal
//	                            +---- snapshot at barriers ------+--> readouts
//
// Every part is a package of its own that knows nothing of the others: rng,
// source, pipeline, optim, readout, export, metrics, journal. This package is
// the only place where they meet.
//
// # What always holds
//
// The same program, data, binary, device kind and kernel tier give the same
// bytes of weights after every batch, whatever the workers, the depth, the
// memory and who looks on. Readouts run on copies, never on live weights.
package runtime
