// Package std is the library of .loco files inside the binary: what a program
// imports as "std/resnet.loco" is resnet.loco here.
//
//	resnet.loco      the blocks of ResNet, with torchvision's names of weights
//	presnet.loco     the blocks of the progressive ResNet-50
//	shufflenet.loco  the units of ShuffleNet v2
//	simclr.loco      augmentations and decoders
//
// Each file holds blocks, decoders, views and lets only, and is checked by a
// test. It imports nothing but embed.
package std

import "embed"

// Files holds the library's files by their names.
//
//go:embed *.loco
var Files embed.FS
