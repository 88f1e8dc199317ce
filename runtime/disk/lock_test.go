//go:build unix

package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// holdEnv names the directory that this test's binary locks and holds until it
// is killed.
const holdEnv = "LOCORUN_TEST_HOLD"

func TestMain(m *testing.M) {
	dir := os.Getenv(holdEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	l, err := Lock(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l.Close()
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, filepath.Join(dir, LockFile)); got != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("the file holds %q", got)
	}
	refused(t, dir, os.Getpid())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, dir string, pid int) {
	t.Helper()
	_, err := Lock(dir)
	var l *Locked
	if !errors.As(err, &l) || l.Dir != dir || l.PID != pid {
		t.Fatalf("got %v", err)
	}
	want := fmt.Sprintf("%s is in use by process %d: wait until it has ended, or name another directory with --out", dir, pid)
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// TestLockOfAKilledProcess: another process holds the lock, is killed, and
// leaves the directory usable.
func TestLockOfAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	refused(t, dir, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	l, err := Lock(dir)
	if err != nil {
		t.Fatalf("after its holder was killed: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLockTakesAnyText: whatever lies in the file, it is no lock by itself, and
// a holder whose number cannot be read is refused without it.
func TestLockTakesAnyText(t *testing.T) {
	for _, text := range []string{"", "1", "-1", "no number", "99999999999999999999999999999999999999"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, LockFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Lock(dir)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err := os.WriteFile(filepath.Join(dir, LockFile), []byte("-1"), 0o600); err != nil {
			t.Fatal(err)
		}
		want := dir + " is in use by another run: wait until it has ended, or name another directory with --out"
		if _, err := Lock(dir); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLockRefuses(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	if _, err := Lock(none); !errors.Is(err, os.ErrNotExist) || err.Error() != "lock of "+none+": open: no such file or directory" {
		t.Errorf("no directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(none, "x"), filepath.Join(dir, LockFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil || err.Error() != "lock of "+dir+": lock is there and not a plain file" {
		t.Errorf("a link: %v", err)
	}
}

// TestLockOutlivesItsFile: whoever takes the file for what a killed process left
// and removes it gets no directory that is in use.
func TestLockOutlivesItsFile(t *testing.T) {
	dir := t.TempDir()
	l, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, LockFile)); err != nil {
		t.Fatal(err)
	}
	want := dir + " is in use by another run: wait until it has ended, or name another directory with --out"
	if _, err := Lock(dir); err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Lock(dir); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// TestPipesAreNotOpened, which would wait for their other end.
func TestPipesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "log"), 0o600); err != nil {
		t.Skip(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const want = "open log: is not an ordinary file"
	if _, err := r.Append("log"); err == nil || err.Error() != want {
		t.Errorf("Append: %v", err)
	}
	if _, err := r.Open("log"); err == nil || err.Error() != want {
		t.Errorf("Open: %v", err)
	}
}
