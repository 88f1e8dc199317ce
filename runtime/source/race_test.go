//go:build race

package source

// raceEnabled: the race detector drops what a pool holds.
const raceEnabled = true
