package measure

import (
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
)

func TestSummarise(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []float64
		want Summary
	}{
		{"none", nil, Summary{}},
		{"one", []float64{3}, Summary{1, 3, 3, 3, 3}},
		{"even", []float64{4, 1, 3, 2}, Summary{4, 1, 2.5, 1, 4}},
		{"five do not reach 95 %", []float64{5, 4, 3, 2, 1}, Summary{5, 1, 3, 1, 5}},
		{"six just do", []float64{6, 5, 4, 3, 2, 1}, Summary{6, 1, 3.5, 1, 6}},
		{"nine", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, Summary{9, 1, 5, 2, 8}},
		{"ten", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, Summary{10, 1, 5.5, 2, 9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Summarise(c.in); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got := Summarise(c.in).Sure(); got != (len(c.in) >= 6) {
				t.Errorf("sure is %v", got)
			}
		})
	}
}

// TestRank compares with places from tables of the sign test.
func TestRank(t *testing.T) {
	for n, want := range map[int]int{1: 0, 5: 0, 8: 0, 9: 1, 12: 2, 20: 5, 50: 17, 100: 39} {
		if got := rank(n); got != want {
			t.Errorf("of %d repeats place %d, want %d", n, got, want)
		}
	}
}

func TestResident(t *testing.T) {
	root := fstest.MapFS{"proc/self/status": {Data: []byte("Name:\tlocorun\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n")}}
	if got, want := residentIn(root), (Memory{1 << 20, 2 << 20}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := residentIn(fstest.MapFS{}); got != (Memory{}) {
		t.Errorf("%+v where nothing is told", got)
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not tell")
	}
	if got := Resident(); got.Now <= 0 || got.Peak <= 0 || Available() <= 0 {
		t.Errorf("this process has %+v of %d", got, Available())
	}
}

func TestAvailable(t *testing.T) {
	meminfo := &fstest.MapFile{Data: []byte("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")}
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want int64
	}{
		{"machine", fstest.MapFS{"proc/meminfo": meminfo}, 5000 << 10},
		{"no limit", fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("max\n"), "sys/fs/cgroup/memory.current": file("7\n")}, 5000 << 10},
		{"limit", fstest.MapFS{
			"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("4096000\n"), "sys/fs/cgroup/memory.current": file("2048000\n"),
			"sys/fs/cgroup/memory.stat": file("anon 1\ninactive_file 1024000\n"),
		}, 3072000},
		{"over the limit", fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("10"), "sys/fs/cgroup/memory.current": file("20")}, 0},
		{"unknown", fstest.MapFS{}, 0},
		{"not a number", fstest.MapFS{"proc/meminfo": file("MemAvailable: many kB\n")}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := availableIn(c.root); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// small is every family of Kernels on small maps.
func small() (ks []Kernel) {
	for _, c := range []Conv{{2, 3, 5, 4, 6, 3, 2, 1}, {1, 4, 3, 3, 4, 1, 1, 2}, {1, 4, 4, 4, 4, 3, 1, 4}} {
		ks = append(ks, c.Kernels()...)
	}
	ks = append(ks, denses(4, 8, 6)...)
	ks = append(ks, norms(2, 4, 16)...)
	ks = append(ks, pools(2, 4, 3)...)
	return append(ks, updates(17)...)
}

// TestTime runs every kernel, and compares its operations with those that the
// backend counts.
func TestTime(t *testing.T) {
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	for _, k := range small() {
		before, looks := b.Counted(), 0
		got, err := Time(b, k, op.F32, Limits{Repeats: 2, Peak: func() float64 { looks++; return float64(looks) }})
		if err != nil {
			t.Error(err)
			continue
		}
		if got.Seconds.N != 2 || got.Peak != 2 || got.Bytes <= 0 || got.Runs == "" {
			t.Errorf("%v of %s: %+v", k.Code, k.Name, got)
		}
		if k.Code != op.NTXent && 3*got.FLOPs != b.Counted()-before {
			t.Errorf("%v of %s: 3 calls of %d operations, the backend counted %d", k.Code, k.Name, got.FLOPs, b.Counted()-before)
		}
	}
}

// TestKernels holds the default kernels to the op table's shape rules.
func TestKernels(t *testing.T) {
	for _, c := range Convs() {
		if err := c.Check(); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	seen := map[op.Code]bool{}
	for _, k := range Kernels() {
		seen[k.Code] = true
		if _, err := op.Rows[k.Code].Shape(k.Attr, k.In); err != nil {
			t.Errorf("%v of %s: %v", k.Code, k.Name, err)
		}
	}
	moves := map[op.Code]bool{op.Shuffle: true, op.Split: true, op.Concat: true, op.ReLU: true, op.Pull: true}
	for _, c := range op.Codes() {
		if seen[c] == moves[c] {
			t.Errorf("%v is timed: %v", c, seen[c])
		}
	}
}

// TestTimeFails wants the op and the shape in errors.
func TestTimeFails(t *testing.T) {
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	k := Conv{1, 3, 4, 4, 5, 3, 1, 1}.Kernels()[0]
	k.In[1] = []int{5, 3, 3, 2}
	_, err := Time(b, k, op.F32, Limits{})
	if err == nil || !strings.HasPrefix(err.Error(), "conv of 1x4x4x3 to 5, 3x3: ") {
		t.Errorf("error %v", err)
	}
}

func TestConvCheck(t *testing.T) {
	good := Conv{N: 1, C: 6, H: 4, W: 4, K: 9, Window: 3, Stride: 1, Group: 3}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		spoil  func(*Conv)
		reason string
	}{
		{"no pictures", func(c *Conv) { c.N = 0 }, "every number is at least 1"},
		{"groups", func(c *Conv) { c.Group = 4 }, "6 and 9 channels do not split into 4 groups"},
		{"side", func(c *Conv) { c.Window = math.MaxInt }, "no number is more than 1048576"},
		{"size", func(c *Conv) { c.N, c.H = 1<<20, 1<<20 }, "more than 2147483648 numbers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := good
			c.spoil(&bad)
			if err := bad.Check(); err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want %q", err, c.reason)
			}
		})
	}
}
