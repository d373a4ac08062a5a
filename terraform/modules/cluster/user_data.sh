#!/bin/bash
# First boot of a member: mounts its two volumes and leaves the rest to Ansible.
#
# A volume is known by its id, never by its place: NVMe names change between boots. One that holds a file system
# is mounted as it is: it outlives the instance, and is a member's memory.
set -euo pipefail

mount_volume() { # VOLUME-ID DIRECTORY
  local device="/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$${1/-/}" directory=$2 waited=0
  until [ -e "$device" ]; do # it is attached after the instance has started
    [ $((waited++)) -lt 900 ] || { echo "user data: $1 was not attached within 15 minutes; attach it and reboot" >&2; return 1; }
    sleep 1
  done
  # 2: nothing there. Whatever else it says, the volume is not empty and is not to be formatted.
  local found=0
  blkid -p "$device" >/dev/null || found=$?
  if [ "$found" -eq 2 ]; then
    mkfs.ext4 -q -m 0 "$device"
  fi
  # A boot without the volume ends in a host that answers; its directory belongs to root, so no daemon writes there.
  mkdir -p "$directory"
  grep -q "^$device " /etc/fstab || echo "$device $directory ext4 noatime,nodev,nosuid,noexec,nofail 0 2" >>/etc/fstab
  mountpoint -q "$directory" || mount "$directory"
}

mount_volume ${data_volume} /var/lib/leeward
mount_volume ${wal_volume} /var/lib/leeward-wal

if ! command -v python3 >/dev/null; then
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3
fi
