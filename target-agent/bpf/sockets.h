/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The parts of the kernel's sockets that are read, as in kernel.h. */
#ifndef BACKDOORS_SOCKETS_H
#define BACKDOORS_SOCKETS_H

#define AF_INET 2
#define AF_INET6 10
#define SOL_SOCKET 1
#define SO_RCVBUF 8
#define IPPROTO_TCP_NUMBER 6
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

struct in6_addr {
	__u8 in6_u[16];
} KERNEL_STRUCT;

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
} KERNEL_STRUCT;

/* The loader puts the running kernel's numbers in the place of these. */
enum sock_flags {
	SOCK_DEAD,
	SOCK_DONE,
};

struct sock {
	struct sock_common __sk_common;
	int sk_rcvbuf;
} KERNEL_STRUCT;

struct inet_sock {
	struct sock sk;
} KERNEL_STRUCT;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
} KERNEL_STRUCT;

struct tcp_options_received {
	__u32 ts_recent;
	__u16 tstamp_ok : 1, wscale_ok : 1, sack_ok : 3, snd_wscale : 4, rcv_wscale : 4;
	__u16 mss_clamp;
} KERNEL_STRUCT;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 rcv_wup;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 snd_wl1;
	__u32 snd_wnd;
	__u32 max_window;
	__u32 tsoffset;
	__u32 rcv_wnd;
	__u32 write_seq;
	struct tcp_options_received rx_opt;
	__u8 repair : 1;
	/* Since 6.7. */
	__u8 tcp_usec_ts : 1;
} KERNEL_STRUCT;

#endif
