#!/bin/sh
# A network of two over the kernel's WireGuard. Who is told to connect is told where the other one is.
set -e
test -c /dev/net/tun
me=$1
other=$((3 - me))
public() { wg pubkey < "/app/$1.key"; }
ip link add wg0 type wireguard
wg set wg0 listen-port 51820 private-key "/app/$me.key" peer "$(public $other)" allowed-ips "10.77.0.$other/32"
ip addr add "10.77.0.$me/24" dev wg0
ip link set wg0 up
echo "ready as $(public "$me")"
if read -r address; then
    wg set wg0 peer "$(public $other)" endpoint "$address:51820" persistent-keepalive 1
    until wg show wg0 latest-handshakes | grep -q '[1-9]$'; do sleep 0.1; done
    echo "handshake"
fi
while read -r line; do :; done
