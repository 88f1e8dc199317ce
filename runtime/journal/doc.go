// Package journal writes what a run leaves behind while it goes on: the run
// directory with the program as it was run, a line per batch and unit, event
// files for TensorBoard, and the log.
//
// In: the program's text, then Batch and Readout values as they come. Out:
//
//	runs/fashion-mnist-3/                 0700, all files 0600
//	  graph.loco                          the file that was run, byte for byte
//	  std/... , blocks.loco               what it imports, at the same places
//	  run.json                            file, method, -D, versions
//	  plan.txt                            what `plan` prints
//	  metrics.jsonl                       a line per batch and unit, and per readout
//	  events.out.tfevents.<unix>.<host>   the same for TensorBoard
//	  log                                 the log lines
//
// What always holds:
//
//   - A directory that has files in it is never written into.
//   - After Create, no failure of the disk reaches training: the first failure
//     of each file is reported through Options.OnError, all are counted, and
//     writing goes on when the disk lets it. A record is in a file whole or not
//     at all: what a failed write left is cut off again, so that a reader never
//     meets half a line or half an event.
//   - Each Batch is in the file, as far as the operating system is concerned,
//     when the call returns; a killed process loses nothing that was reported.
//   - The keys of a JSON object have one order; numbers are written in the
//     shortest form that reads back as the same float64. What is not finite or
//     was not measured is null, since JSON has no word for it.
//   - Times are written, never read: nothing in here can influence a result.
package journal
