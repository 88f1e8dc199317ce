// Package progress shows on standard error how far a run is.
//
// In: a Step now and then, and log lines. Out: on a terminal a bar that renews
// itself, with a line per unit below it and log lines above it,
//
//	14:02:11 INFO readout linear on s4: 81.2 % (random encoder 43.0 %)
//	epoch 3/20 [=======>--------------------] 14 %  1234 images/s  2m30s left
//	  low   loss 4.213  lr 0.03  std 0.81  waited gradient 12s, input 1s
//	  high  loss 4.871  lr 0.03  std 0.77  waited input 3s
//
// and anywhere else one plain line per epoch between the log lines.
//
// What always holds: whole log lines come out, in order, none lost and none cut
// by the bar; nothing here blocks on more than the writer itself; an error of
// the writer is dropped, because a closed terminal must not stop a run. No
// colour unless Options ask for it, no cursor movement off a terminal.
package progress
