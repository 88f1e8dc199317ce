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

// interrupts closes the channel at the first SIGINT or SIGTERM and ends the
// process at the second.
func interrupts() <-chan struct{} {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	first := make(chan struct{})
	go func() {
		<-signals
		close(first)
		<-signals
		os.Exit(exitInterrupted)
	}()
	return first
}
