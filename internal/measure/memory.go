package measure

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Memory is how much of the machine's memory this process occupies, in bytes;
// zero where the system does not tell.
type Memory struct {
	Now  int64 // resident
	Peak int64 // the most that was ever resident
}

// Resident reads the process's memory.
func Resident() Memory { return residentIn(os.DirFS("/")) }

func residentIn(root fs.FS) Memory {
	text, err := fs.ReadFile(root, "proc/self/status")
	if err != nil {
		return Memory{}
	}
	return Memory{field(text, "VmRSS"), field(text, "VmHWM")}
}

// Available is how many bytes a new process could take without pushing others
// out: what the system says is available, or the rest of the control group's
// limit, whichever is less. It is zero where the system does not tell.
func Available() int64 { return availableIn(os.DirFS("/")) }

func availableIn(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	free := field(text, "MemAvailable")
	if rest, ok := groupRest(root); ok && rest < free {
		return rest
	}
	return free
}

// groupRest is what a control group's limit (version 2) leaves: the limit less
// what is taken, files that can be dropped not counted. Not ok: no limit.
func groupRest(root fs.FS) (int64, bool) {
	const dir = "sys/fs/cgroup/"
	limit, ok := number(root, dir+"memory.max")
	taken, ok2 := number(root, dir+"memory.current")
	if !ok || !ok2 {
		return 0, false
	}
	if stat, err := fs.ReadFile(root, dir+"memory.stat"); err == nil {
		taken -= field(stat, "inactive_file")
	}
	return max(limit-taken, 0), true
}

// number reads a file that is one number.
func number(root fs.FS, name string) (int64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// field reads the bytes of a line such as "VmRSS:   1234 kB" or "anon 4096"; 0
// where there is none.
func field(text []byte, name string) int64 {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || strings.TrimSuffix(words[0], ":") != name {
			continue
		}
		n, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return 0
		}
		if len(words) > 2 && words[2] == "kB" { // which are of 1024 bytes
			n *= 1024
		}
		return n
	}
	return 0
}
