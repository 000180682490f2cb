/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The kernel half of the target agent: fills the sensor box and the process table, and obeys commands, with no
 * user space left alive. Each header is one concern; this file only puts them together. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <backdoors_sensor_box.h>
#include "kernel.h"
#include "sockets.h"
#include "settings.h"
#include "maps.h"
#include "scope.h"
#include "users.h"
#include "authentication.h"
#include "commands.h"
#include "audit.h"
#include "agreement.h"
#include "consider.h"
#include "errands.h"
#include "processes.h"
#include "forks.h"
#include "victims.h"
#include "strike.h"
#include "lifecycle.h"
#include "sensors.h"
#include "pressure.h"
#include "fence.h"
#include "timer.h"
#include "sessions.h"
#include "segments.h"
#include "received.h"
#include "capture.h"

char kernel_half_license[] SEC("license") = "Dual MIT/GPL";
