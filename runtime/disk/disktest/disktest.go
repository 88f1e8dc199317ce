// Package disktest is disks for tests: one that loses power, and one that fails.
//
//	disk.FS <-- Memory    knows what was synced; Crash is the tree that a power cut leaves
//	        <-- Failing   passes on to another tree, but for the n-th operation
//
// In: the operations of the code under test. Out: the trees it may find at its
// next start, or the errors it has to live with.
//
// What always holds: nothing survives a crash for certain but bytes that were
// synced (File.Sync) under names that were (SyncDir); what else survives is
// drawn from the generator given, so that a seed names a crash.
package disktest

import "fmt"

// Kind is what an operation does.
type Kind string

// The operations, by the methods that start them.
const (
	Create   Kind = "create"
	Append   Kind = "append"
	Open     Kind = "open"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	List     Kind = "list"
	SyncDir  Kind = "syncdir"
	Write    Kind = "write"
	Sync     Kind = "sync"
	Truncate Kind = "truncate"
	Close    Kind = "close"
	Read     Kind = "read"
)

// Op is one operation, counted from 1 over all of a tree.
type Op struct {
	N    int
	Kind Kind
	Name string // of the file or directory; of a rename, the new one
}

// String is for messages of tests.
func (o Op) String() string { return fmt.Sprintf("operation %d (%s %s)", o.N, o.Kind, o.Name) }
