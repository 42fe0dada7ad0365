#!/bin/bash
# programs.sh CLIENT HERE PYTHON WORK: what one program can do, `FEATURE ok` or `FEATURE bad` a line.
#
# HERE is this folder, WORK an empty one to write in. `?FEATURE-CLIENT` in a URL tells the origin's log who asked. Outside
# of a jail LAB_CA names the world's authority, for those programs that no variable of theirs tells about it.
client=$1 here=$2 python=$3 work=$4
base=https://ok.test
packages=https://packages.test:8443
cd "$work" || exit 1
export HOME=$work XDG_CONFIG_HOME=$work XDG_CACHE_HOME=$work/cache

check() {
    local feature=$1
    shift
    if "$@" >"$feature.out" 2>&1; then echo "$feature ok"; else
        echo "$feature bad"
        tail -n 5 "$feature.out" >&2
    fi
}
# has TEXT COMMAND...: the command succeeds and prints TEXT.
has() { local said; said=$("${@:2}") && [[ $said == *"$1"* ]] || { echo "$said"; return 1; }; }
size() { [ "$("${@:2}" | wc -c)" = "$1" ]; }
head -c 1048576 /dev/zero | tr '\0' x >body

with_curl() {
    local curl=(curl -sS "$@")
    check get has 'as asked' "${curl[@]}" "$base/status/200?get-$client"
    check post size 1048576 "${curl[@]}" --data-binary @body "$base/echo?post-$client"
    check down size 8000000 "${curl[@]}" "$base/bytes/8000000?down-$client"
    check sse has 'data: 19' "${curl[@]}" -N "$base/stream/20?sse-$client"
    check denied has 'x-httpjail: deny' "${curl[@]}" -D - -o /dev/null "$base/denied?denied-$client"
}

with_git() {
    git config --global user.name lab
    git config --global user.email lab@lab.test
    git config --global init.defaultBranch main
    check clone git clone -q "$packages/git/project.git" first
    echo content >first/file && head -c 2000000 /dev/urandom >first/large
    git -C first add . && git -C first commit -q -m one
    check push git -C first push -q origin HEAD:main
    check fetch git clone -q "$packages/git/project.git" second
    check same cmp first/large second/large
}

with_cargo() {
    export CARGO_HOME=$work/cargo
    mkdir -p "$CARGO_HOME" src
    printf '[source.crates-io]\nreplace-with = "lab"\n[source.lab]\nregistry = "sparse+%s/crates/"\n' "$packages" >"$CARGO_HOME/config.toml"
    printf '[package]\nname = "user"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ntiny = "1"\n' >Cargo.toml
    echo 'fn main() { println!("{}", tiny::WORD) }' >src/main.rs
    check install has 'from cargo' cargo run -q
}

with_npm() {
    check install npm install --no-audit --no-fund --registry "$packages/npm/" tiny
    check use has 'from npm' node -p "require('tiny')"
}

with_pip() {
    check install "$python" -m pip install -q --disable-pip-version-check --index-url "$packages/simple/" --target "$work/site" tiny
    check use has 'from pip' env PYTHONPATH="$work/site" "$python" -c 'import tiny; print(tiny.word)'
}

with_wget() {
    local wget=(wget -nv -O -)
    check get has 'as asked' "${wget[@]}" "$base/status/200?get-$client"
    check post size 1048576 "${wget[@]}" --post-file body "$base/echo?post-$client"
    check down size 8000000 "${wget[@]}" "$base/bytes/8000000?down-$client"
    check sse has 'data: 19' "${wget[@]}" "$base/stream/20?sse-$client"
    check denied has 'x-httpjail: deny' bash -c "wget -S -O /dev/null '$base/denied?denied-$client' 2>&1; true"
}

with_java() {
    if [ -n "$LAB_CA" ]; then
        keytool -importcert -noprompt -keystore "$work/trust" -storepass changeit -file "$LAB_CA" 2>keytool.out
        export JAVA_TOOL_OPTIONS="-Djavax.net.ssl.trustStore=$work/trust"
    fi
    java "$here/Programs.java"
}

with_chromium() {
    local page=https://web.test:8445 outside=()
    [ -n "$LAB_CA" ] && outside=(--ignore-certificate-errors)
    local chromium=(chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
        --disable-background-networking --disable-component-update --disable-dev-shm-usage
        --virtual-time-budget=10000 --user-data-dir="$work/profile" "${outside[@]}")
    "${chromium[@]}" --dump-dom "$page/" >dom 2>chromium.out
    check get has '>h2</b>' cat dom
    check post has 'a word' cat dom
    check websocket has 'echo of ping' cat dom
    check sse has '0 1 2 3 4' cat dom
    check denied has 'policy' "${chromium[@]}" --dump-dom "$base/denied?denied-$client"
    check picture "${chromium[@]}" --window-size=800,500 --screenshot="$work/page.png" "$page/"
}

# What coding agents run their own commands in: a sandbox in the jail, with a proxy of its own.
with_srt() {
    local allowed='"allowedDomains": ["ok.test"], "deniedDomains": []'
    echo "{\"network\": {$allowed}, \"filesystem\": {\"denyRead\": [], \"allowWrite\": [\".\"], \"denyWrite\": []}}" >settings.json
    local srt=("$SRT" --settings settings.json -c)
    # Its bridge to that proxy is up a moment after the command.
    local curl="curl -sS --retry 5 --retry-delay 1 --retry-connrefused ${LAB_CA:+--cacert $LAB_CA}"
    check get has 'as asked' "${srt[@]}" "$curl $base/status/200?get-$client"
    check denied has 'x-httpjail: deny' "${srt[@]}" "$curl -D - -o /dev/null $base/denied?denied-$client"
}

case $client in
curl-1.1) with_curl --http1.1 ;;
curl-2) with_curl --http2 ;;
go) "$GO_CLIENT" ;;
tonic) "$TONIC_CLIENT" ;;
node) node "$here/programs.mjs" ;;
aiohttp | grpcio | httpx | httpx-2 | requests | websockets) "$python" "$here/programs.py" "$client" ;;
*) "with_$client" ;;
esac
