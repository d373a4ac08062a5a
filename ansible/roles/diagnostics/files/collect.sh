#!/bin/sh
# usage: collect.sh SINCE SOCKET ARCHIVE
# Whatever fails leaves its error in its own file: a daemon that is down is no reason to take nothing.
set -u
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

take() {
  name=$1
  shift
  timeout 10 "$@" >"$work/$name" 2>&1 || echo "(ended with $?)" >>"$work/$name"
}
ask() { take "$1" leewardctl --endpoints "unix://$socket" --timeout 2s $2; }

socket=$2
take journal journalctl --unit leeward --since "$1" --no-pager
take unit systemctl show leeward
take version leewardd --version
take configuration cat /etc/leeward/leeward.toml
take disks df
take sockets ss --tcp --all --numeric --processes
take memory cat /proc/meminfo
take pressure cat /proc/pressure/cpu /proc/pressure/io /proc/pressure/memory
take directories ls -lR /var/lib/leeward /var/lib/leeward-wal
ask cluster "cluster status"
ask members "member list"
ask standbys "standby status"
ask regions "dr status"
ask epochs "dr status --history"
tar -C "$work" -czf "$3" .
