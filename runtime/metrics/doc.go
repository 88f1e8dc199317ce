// Package metrics makes a run visible to Prometheus and to a browser.
//
// In: what the units, the loader, the readouts and the checkpoints report,
// through small typed methods of a Set. Out: an endpoint that Prometheus
// scrapes, two probes, a live page, and three texts generated from the same
// table: documentation, a Grafana dashboard and alert rules.
//
//	units, loader, readouts --Step, Wait, Loss, ...--> Set --+
//	                                                         |
//	channels <------- length, read at scrape ---------- registry <-- /metrics
//	watchdog <------- Healthy -------------------------------------- /healthz
//	first step <----- Ready ---------------------------------------- /readyz
//	the run <-------- Page ----------------------------------------- /
//
// What always holds:
//
//   - A metric is a row of one table (Rows). Nothing about it is said anywhere
//     else, and nothing that is not in the table is exported.
//   - Reporting never blocks on a reader and never stops a run: a panic in here
//     or in a function handed to this package is caught and counted in
//     locorun_errors_total{kind="metrics"}. A nil *Set accepts every report
//     and drops it.
//   - Label values come from the program only. A value that was not announced
//     in Options is dropped and counted; so the number of label sets is at
//     most 50 + 40 * units, whatever a program does (see Limit).
//   - No package-level state: two Sets in one process do not see each other.
package metrics
