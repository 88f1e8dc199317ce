// Package graphs turns a program of the intermediate representation into
// Gorgonia graphs and runs them. It is the only package that knows Gorgonia.
//
// In comes a planned ir.Program and a device.Backend. Out comes a Program
// whose Run executes one segment for one microbatch. A unit has a segment for
// each of its stages and its decoder in each phase (forward, loss, the sweeps,
// update); every segment becomes one expression graph with one TapeMachine,
// and every op of the segment exactly one node of that graph:
//
//	ir.Segment "s3.forward"            Gorgonia graph
//
//	                                   (s2:out) (w) (scale) (shift)    leaves: values made elsewhere
//	z, y, m, i = conv_norm(s2:out,...)     \     |     |     /
//	                                       [ s3.0.conv1/conv_norm ]    one value: a tuple of four
//	p, idx     = pool_max(y)                |                \
//	                                       [ s3.0.pool_max ]  \ after
//	e          = mean(p)                    |                  \
//	                                       [ mean ] . . . . . . .      order edge, where no value flows
//
// # Order
//
// Memory is planned for the order of the segment's ops: a later result may lie
// where an earlier one died. So the ops of a graph form a chain: where a node
// does not read its predecessor's result, it takes the predecessor as one more
// child, which it ignores. Build compares the order in which Gorgonia will run
// the nodes with the segment, and every run counts them off. No node is ever
// merged with another: each has a hash of its own, and Build refuses a graph
// in which two hash codes agree, after trying other hashes.
//
// # Memory
//
// The Program owns the memory: one device buffer per ir.Space, as large as
// planned, where all units are on one device. Nothing else is allocated, and a run allocates nothing on the
// device. Values that travel along the graph's edges are windows into the
// buffers, of a type of this package: shape, element type and place on the
// device, never elements on the host. So one graph serves any backend, and
// Gorgonia's built-in ops, which want elements, refuse them.
//
// Graphs are not built anew for each microbatch. Before a run, the windows of
// values with several slots move to the slot of the microbatch:
//
//	byte = offset + (micro mod slots) * stride
//
// Results that an op adds to (gradients of weights) or updates in place
// (weights and their state) are resolved by the op itself, like all results.
//
// # Lanes
//
// Where the backend has lanes, a unit's work goes into its own if the program is
// planned for units side by side, and that of all into one if they share
// addresses. What crosses, maps and gradients and published weights, is found when
// the program is built; a lane waits for the marks that others left behind their
// last conflicting use (see cell). The host reads and writes a value on the lane of
// the unit that has to do with it. A lane that records is given a segment's Calls
// once for each combination of slots, and replays them from then on.
//
// # Places
//
// On a device.Placed each unit's values lie on its own backend, in a buffer for
// each space that holds only the stretches its values take, in the plan's order.
// What a unit reads of another place is copied to a mirror, through the host, before
// the first segment that reads a new version of it. Copies from card to card, past
// the host, are not made.
//
// # Concurrency and failure
//
// Segments may run at the same time as other segments: they share buffers and
// the backend, and no other state. A segment never runs twice at a time; an
// attempt is an error. Gorgonia runs ops on a goroutine of its own, where a
// panic would end the process: every op passes through one Do that recovers.
// An error names the unit, the layer and its place in the source, and the
// graph that failed is thrown away and built again when next needed.
package graphs
