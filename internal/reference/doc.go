// Package reference is a second, slow reading of what a program means, for
// tests to hold the real one to. It evaluates a checked net with a small
// reverse-mode tape in float64, the way a user of any autograd library would
// write local learning by hand:
//
//	for each unit:                            its own tape
//	    x = the stages below, no gradient         images --> s1 --> x
//	    x = detach(x)                                            |
//	    e = decoder(the unit's stages(x))                 x --> s2 --> s3 --> proj --> e
//	    backward(ntxent(e))                               gradients of s2, s3, proj
//	add the units' gradients by parameter, in unit order
//
// In comes a model.Net and the pictures of one batch, a Map per microbatch.
// Out come losses by name, gradients by parameter name, and the running
// statistics after the batch; Update then follows the optimisers.
//
// What always holds:
//
//   - Nothing is shared with the compiler or the devices: no op table, no
//     fusion, no sweeps, no memory plan. Every stage runs again in every unit
//     that looks through it.
//   - The tape has five ops (linear, bilinear, sum, product, elementwise), each
//     with a gradient of one line; everything else is made of them.
//   - Names are those of the program's parameters: stage label or
//     "unit/decoder", layer, "weight", "bias", "running_mean", "running_var".
//
// It is support for tests: the product does not import it.
package reference
