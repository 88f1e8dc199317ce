// Package pipeline runs the units of a program as sequential processes joined
// by bounded channels. A Spec and one Unit per unit come in; what comes out is
// the order in which every Unit's tasks run, and nothing else: maps and
// gradients lie at addresses planned beforehand, chosen by a microbatch's
// number Seq modulo the slots of the value, and the channels carry tokens that
// say "it lies there now".
//
//	          map            map
//	Feed --> [low] ------> [mid] ------> [high]
//	           ^ <---------  |  <---------  |
//	             gradient       gradient         and, downwards as well,
//	             release        release          a map's slot is free again,
//	             ended          ended            the unit above ended a batch
//
// # What always holds
//
// A unit is a list of steps per batch, fixed before the run (see program.go).
// Every channel has one writer and one reader, reads block, and no unit looks
// at a clock or chooses between two channels. By Kahn's theorem the history of
// every channel, and so every byte computed, is then the same under any
// scheduling. The one other thing a blocked unit listens to is its context;
// that ends the run and so changes no result. Likewise Stop and RequestBarrier
// choose which batch is the last or is saved, never what it holds.
//
// A unit starts batch b+1 only after it updated for b, and b+2 only after the
// unit above ended b: no weight is stale, neighbours are at most one batch
// apart. A unit's own loss is swept, and the gradient handed on, before the
// unit reads any gradient for that microbatch.
//
// # The lean order
//
// With Spec.Lean a baton goes round: the same goroutines, but one at a time is
// at work, in the total order that Turns lists. The memory plan of depth 1 is
// made over that very order.
//
// # Room
//
// The least capacities and slots that cannot deadlock, and the argument for
// them, are in room.go; New refuses less.
//
// # Barriers
//
// Unit 0 decides, when it passes on the last map of a batch, whether that batch
// is saved and whether it is the last; the decision travels with that map. Each
// unit takes its snapshot after its own update and before its next batch, in
// its own goroutine, while its neighbours go on; the last to do so reports the
// batch. The last batch of a run is always a barrier.
package pipeline
