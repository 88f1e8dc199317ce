package cli

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// versionCmd prints versions.
type versionCmd struct {
	Modules bool `help:"Also print the version and checksum of every module in the binary."`
	Devices bool `help:"Also print which of NVIDIA's libraries were found and where, and the cards."`
}

// Help shows examples.
func (versionCmd) Help() string {
	return "Examples:\n  locorun version --modules\n  locorun version --devices"
}

// Run prints them.
func (c *versionCmd) Run(env *Env) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("the binary carries no build information")
	}
	fmt.Fprintf(env.Stdout, "locorun %s, language loco 1, %s\n", info.Main.Version, info.GoVersion)
	for _, m := range info.Deps {
		if c.Modules || m.Path == "gorgonia.org/gorgonia" {
			fmt.Fprintf(env.Stdout, "  %s %s %s\n", m.Path, m.Version, m.Sum)
		}
	}
	if c.Devices {
		devices(env.Stdout, driver.Find())
	}
	return nil
}

// devices prints a line for each library and each card. That there is no card is
// a line too, and no failure: everything else works without one.
func devices(w io.Writer, f driver.Found) {
	for _, l := range f.Libraries {
		fmt.Fprintf(w, "  %s\n", printable(l.String()))
	}
	for _, c := range f.Cards {
		fmt.Fprintf(w, "  %s\n", printable(c.String()))
	}
	if f.Err != nil {
		fmt.Fprintf(w, "  no cuda device: %s\n", printable(f.Err.Error()))
	}
}
