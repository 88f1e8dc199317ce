// Command locorun trains image encoders by local contrastive learning, as a
// .loco file says. See README.md.
package main

import (
	"os"

	"github.com/locorun/locorun/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.OS()))
}
