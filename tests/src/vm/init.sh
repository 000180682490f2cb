#!/bin/bash
# The first process of a guest: brings it up, then stays to reap orphans, or becomes systemd.
export PATH=/usr/bin HOME=/root TERM=dumb

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755,size=64m tmpfs /run
mount -t tmpfs -o mode=1777,size=128m tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
ln -s /proc/self/fd /dev/fd

for word in $(</proc/cmdline); do
    case $word in
        backdoors.address=*) address=${word#*=} ;;
        backdoors.host_link=*) host_link=${word#*=} ;;
        backdoors.swap=*) swap=${word#*=} ;;
        backdoors.name=*) hostname "${word#*=}" ;;
        backdoors.systemd) systemd=yes ;;
    esac
done

modprobe -a virtio_pci virtio_console virtio_net
# Held back while the kernel booted.
for processor in /sys/devices/system/cpu/cpu[0-9]*/online; do
    [[ $(<"$processor") == 1 ]] || echo 1 >"$processor"
done
ip link set lo up
if [[ -v address ]]; then
    ip address add "$address" dev eth0
    ip link set eth0 up
    modprobe -a ib_uverbs rdma_rxe
    rdma link add rxe0 type rxe netdev eth0
fi

if [[ -v host_link ]]; then
    for interface in /sys/class/net/*; do
        if [[ $(<"$interface/address") == "$host_link" ]]; then
            ip address add 10.0.2.15/24 dev "${interface##*/}"
            ip link set "${interface##*/}" up
        fi
    done
fi

if [[ -v swap ]]; then
    modprobe virtio_blk
    until [[ -b $swap ]]; do sleep 0.05; done
    mkswap "$swap" >/dev/null
    swapon "$swap"
fi

# What serves the lab must answer however busy other users keep this machine.
serve() {
    echo -1000 >/proc/$BASHPID/oom_score_adj
    chrt --fifo --pid 50 $BASHPID
    backdoors-vm-guest
    echo "the lab's server ended with $?"
    poweroff -f
}
if [[ -v systemd ]]; then
    (
        until [[ $(systemctl is-system-running 2>/dev/null) == running ]]; do sleep 0.2; done
        serve
    ) &
    exec /usr/lib/systemd/systemd --log-target=kmsg --show-status=no
fi
serve
