# A network namespace of one's own with a user-mode network stack that carries its packets: carrier.sh PROBE CANARY
place=$(mktemp -d) || exit 1
cd "$place" || exit 1
mkfifo go up
unshare -Urn sh -c 'echo $$ >pid.new; mv pid.new pid; read line <go; exec /usr/bin/python3 "$0" udp4 "$1"' "$1" "$2" &
inner=$!
while [ ! -s pid ]; do kill -0 "$inner" 2>/dev/null || exit 1; done
slirp4netns --configure --disable-host-loopback --ready-fd=3 "$(cat pid)" tap0 3>up >slirp.log 2>&1 &
carrier=$!
head -c 1 <up
cat slirp.log >&2
echo >go
wait "$inner"
kill "$carrier" 2>/dev/null
