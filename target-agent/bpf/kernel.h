/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The parts of the kernel that are read. The loader relocates every access to the running kernel's layout, so
 * one object serves kernels that lay these structures out differently. */
#ifndef BACKDOORS_KERNEL_H
#define BACKDOORS_KERNEL_H

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define SIGKILL 9
#define CLOCK_MONOTONIC 1
#define EEXIST 17

#define KERNEL_STRUCT __attribute__((preserve_access_index))

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} KERNEL_STRUCT kuid_t;

struct cred {
	kuid_t uid;
} KERNEL_STRUCT;

struct ns_common {
	unsigned int inum;
} KERNEL_STRUCT;

struct pid_namespace {
	struct ns_common ns;
} KERNEL_STRUCT;

struct upid {
	int nr;
	struct pid_namespace *ns;
} KERNEL_STRUCT;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} KERNEL_STRUCT;

struct signal_struct {
	atomic_t live;
	int nr_threads;
	unsigned long long sum_sched_runtime;
} KERNEL_STRUCT;

struct sched_entity {
	__u64 sum_exec_runtime;
} KERNEL_STRUCT;

/* Since 6.2 resident memory is kept in per-CPU counters, before that in atomic words. */
struct percpu_counter {
	__s64 count;
} KERNEL_STRUCT;

struct mm_struct {
	struct percpu_counter rss_stat[4];
} KERNEL_STRUCT;

struct atomic_long___before_6_2 {
	__s64 counter;
} KERNEL_STRUCT;

struct mm_rss_stat {
	struct atomic_long___before_6_2 count[4];
} KERNEL_STRUCT;

struct mm_struct___before_6_2 {
	struct mm_rss_stat rss_stat;
} KERNEL_STRUCT;

/* What a process has: pages of files, anonymous ones, those moved to swap space, shared memory. */
#define MM_FILEPAGES 0
#define MM_ANONPAGES 1
#define MM_SWAPENTS 2
#define MM_SHMEMPAGES 3

struct kernfs_node {
	__u64 id;
	const char *name;
} KERNEL_STRUCT;

struct cgroup {
	struct kernfs_node *kn;
} KERNEL_STRUCT;

struct css_set {
	struct cgroup *dfl_cgrp;
} KERNEL_STRUCT;

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	struct sched_entity se;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_time;
	const struct cred *real_cred;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
} KERNEL_STRUCT;

/* The loader puts the running kernel's numbers in the place of these. */
enum zone_stat_item {
	NR_FREE_PAGES,
};

enum node_stat_item {
	NR_INACTIVE_FILE,
	NR_ACTIVE_FILE,
	NR_SLAB_RECLAIMABLE_B,
	NR_KERNEL_MISC_RECLAIMABLE,
};

enum psi_states {
	PSI_MEM_FULL,
	PSI_NONIDLE,
};

struct psi_group_cpu {
	__u32 times[1];
} KERNEL_STRUCT;

struct psi_group {
	struct psi_group_cpu *pcpu;
} KERNEL_STRUCT;

enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
};

struct bpf_iter_meta;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} KERNEL_STRUCT;

/* Since 6.13 together: before, a timer can neither walk all tasks nor signal one. */
struct bpf_iter_task {
	__u64 opaque[3];
} __attribute__((aligned(8)));

extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task, unsigned int flags) __ksym __weak;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym __weak;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym __weak;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;
extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type, __u64 value) __ksym __weak;
/* Since 6.10. */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

#endif
