//! The text below the options in the help of each command.

pub(super) const ATTACH_AFTER: &str = "\
What is restricted, and what is not:
  IP traffic is blocked except for requests that the rules allow. Open connections are cut. Sockets that listen already
  can no longer be reached, not even from inside; sockets that listen from now on can be reached from inside only.
  Unix sockets, files and rights of the processes stay as they are: a process of root can leave the cgroup.
  When httpjail is killed the cgroup stays closed, until `httpjail detach`.
  A container or unit that is started again is held again.

Examples:
  httpjail attach --unit agent.service -r 'allow: ^https://api\\.github\\.com/'
  httpjail attach --container web -r 'allow: ^https://api\\.github\\.com/'
  httpjail detach --container web";

pub(super) const POOL_AFTER: &str = "\
Rules and options are the pool's, for all of its jails. Each jail runs one command and is thrown away.
The jails end with the pool. --name names it, for --pool=NAME.

Example:
  httpjail pool --size 4 -c rules.yaml &
  httpjail --pool -- curl https://api.github.com/zen";

pub(super) const COMPLETIONS_AFTER: &str = "\
bash:  httpjail completions bash > ~/.local/share/bash-completion/completions/httpjail
zsh:   httpjail completions zsh > DIR/_httpjail, where DIR is in $fpath
fish:  httpjail completions fish > ~/.config/fish/completions/httpjail.fish";
pub(super) const CHECK_USAGE: &str = "\
httpjail check [OPTIONS] [METHOD] URL
       httpjail check [OPTIONS] -
       httpjail check [OPTIONS] --replay LOG [--diff FILE]
       httpjail check [OPTIONS] [--tests]";

pub(super) const CHECK_AFTER: &str = "\
Examples:
  httpjail check -c rules.yaml POST https://api.example.com/v1/items
  httpjail check -c rules.yaml --replay requests.jsonl --diff new-rules.yaml

Exit status:
  0 if all is allowed, passes, or stays as it is; 1 if not; 2 for a wrong option, rule, file or request.";

pub(super) const LINT_AFTER: &str = "\
Examples:
  httpjail lint -c rules.yaml
  httpjail lint -c rules.yaml --log requests.jsonl

Exit status:
  0 if nothing is wrong; 1 if something is; 2 for a wrong option, rule, file or log.";

pub(super) const SHORT_AFTER: &str = "\
Example:
  httpjail -r 'allow-get: ^https://api\\.github\\.com/' -- curl https://api.github.com/zen

More with --help.";

pub(super) const LONG_AFTER: &str = "\
Rules:
  -r 'allow: ^https://github\\.com/'        all requests to github.com
  -r 'allow-get: ^https://api\\.test/'      only GET requests
  -r 'deny-post: telemetry'                no POST to a URL that has this in it
  -r 'allow: .*'                           everything else (usually last)
  `github\\.com` alone also matches https://evil.example/?github.com: begin with ^https:// and end the host with a slash.

To run a program that has the name of one of httpjail's own commands, write `--` before it: httpjail -- doctor

Examples:
  httpjail -r 'allow: ^https://github\\.com/' -- git clone https://github.com/user/repo
  httpjail --config rules.yaml -- npm install
  httpjail --dry-run -r 'deny: telemetry' -r 'allow: .*' -- ./application
  httpjail --log-only --log requests.jsonl --log-format json -- ./application
  httpjail report requests.jsonl
  httpjail learn -- npm ci && httpjail --locked httpjail.yaml -- npm ci

Environment:
  https_proxy, http_proxy, all_proxy, no_proxy   the way out for httpjail itself, through http:// and https:// proxies

Exit status:
  that of the command; 1 when --locked found a request that the policy does not allow; 128+N when signal N killed it;
  124 on timeout; 125 when httpjail itself failed;
  126 not executable; 127 not found; 2 for a wrong option, rule or file.";

pub(super) const LEARN_AFTER: &str = "\
Requests of one kind become one rule: ids, hashes and versions in paths are written in their
general form, and where a host has more than a dozen names at one place, any name will do.
Read the file before you trust it. Learn with empty caches: a cached file is not requested.

Example:
  httpjail learn -- npm ci                        writes httpjail.yaml
  httpjail --locked httpjail.yaml -- npm ci       the same, and nothing else";

pub(super) const NODE_AFTER: &str = "\
The node file:
  version: 1
  closed: agents.slice
  jails:
  - {name: agents, cgroup: agents.slice/*, policy: web}
  - {name: runner, unit: runner.service, policy: runner}

What the node closes or holds stays so when it is killed. SIGHUP has it read the file again; SIGTERM lets everything go.";
