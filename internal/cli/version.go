package cli

import (
	"fmt"
	"runtime/debug"
)

// versionCmd prints versions.
type versionCmd struct {
	Modules bool `help:"Also print the version and checksum of every module in the binary."`
}

// Help shows an example.
func (versionCmd) Help() string { return "Example:\n  locorun version --modules" }

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
	return nil
}
