package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// endAtOnce makes the first signal end the process, for verbs that have nothing
// to finish.
func (e *Env) endAtOnce() {
	if e.Interrupt == nil {
		return
	}
	go func() {
		<-e.Interrupt
		os.Exit(exitInterrupted)
	}()
}

// outliveReaders keeps the process when nobody reads its output any more, which
// would otherwise end it in the middle of a batch. What is written is lost.
func outliveReaders() { signal.Ignore(syscall.SIGPIPE) }

// interrupts closes the channel at the first SIGINT, SIGTERM or SIGHUP and ends
// the process at the second. A terminal that goes away may hang up more than
// once: only the first counts. After nohup none does.
func interrupts() <-chan struct{} {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	first := make(chan struct{})
	go func() {
		<-signals
		close(first)
		for s := range signals {
			if s != syscall.SIGHUP {
				os.Exit(exitInterrupted)
			}
		}
	}()
	return first
}
