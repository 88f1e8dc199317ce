// Package metrics makes a run visible to Prometheus and to a browser.
//
// In: what the units, the loader, the readouts and the checkpoints report,
// through small typed methods of a Set. Out: an endpoint that Prometheus
// scrapes, two probes, a live page, and three texts generated from the same
// table: documentation, a Grafana dashboard and alert rules.
//
//	units, loader, readouts --Step, Wait, Loss, ...--> Set --+
//	                                                         |
//	channels <------- length, when gathered ----------- registry
//	                                                         | five times a second at most
//	                                                       cache <-- /metrics
//	watchdog <------- Healthy -------------------------------------- /healthz
//	first step <----- Ready ---------------------------------------- /readyz
//	the run <-------- Page ----------------------------------------- /
//	the process <---- runtime/pprof --- a listener of its own <----- /debug/pprof/
//
// What always holds:
//
//   - A metric is a row of one table (Rows). Nothing about it is said anywhere
//     else, and nothing that is not in the table is exported.
//   - Reporting never blocks on a reader and never stops a run: a panic in here
//     or in a function handed to this package is caught and counted in
//     locorun_errors_total{kind="metrics"}. A nil *Set accepts every report
//     and drops it.
//   - Scrapes cost next to nothing however often they come: values are gathered
//     five times a second at most, one gathering at a time, and what was
//     gathered is shown for 200 ms, from bytes that are made once per format
//     and encoding. What cannot be answered in time is refused with 429.
//   - The endpoint is on loopback unless told otherwise, its connections, their
//     time and their bytes are bounded, and profiles are on a listener of their
//     own, on loopback always, where they are asked for.
//   - Label values come from the program only. A value that was not announced
//     in Options is dropped and counted; so the number of label sets is at
//     most 50 + 40 * units, whatever a program does (see Limit).
//   - No package-level state: two Sets in one process do not see each other.
package metrics
