// NVML of the imaginary cards, for tests.
#include <stdio.h>
#include <string.h>

static int open_times;
int fake_ml_live(void) { return open_times; }

int nvmlInit_v2(void) { open_times++; return 0; }
int nvmlShutdown(void) { return --open_times < 0; }
const char *nvmlErrorString(int r) { return r == 6 ? "Not Found" : "Uninitialized"; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { snprintf(s, n, "580.1.2"); return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **d) {
	if (open_times < 1) return 1;
	if (strcmp(id, "0000:11:00.0") != 0) return 6;
	*d = (void *)77;
	return 0;
}
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m) { m[0] = 1000; m[1] = 400; m[2] = 600; return d != (void *)77; }
int nvmlDeviceGetUtilizationRates(void *d, unsigned *u) { u[0] = 93; u[1] = 41; return d != (void *)77; }
