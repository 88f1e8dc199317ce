//go:build !amd64

package vector

// Sets lists the sets that this processor can run: none.
func Sets() []*Set { return nil }
