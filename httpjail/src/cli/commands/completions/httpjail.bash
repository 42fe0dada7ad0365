# Completes httpjail's words by asking it, and the jailed command's own by whatever completes those.
_httpjail() {
    local told line self="${1/#\~/$HOME}"
    COMPREPLY=()
    told=$("$self" completions bash -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null) || return
    case "${told%%$'\n'*}" in
        words)
            while IFS= read -r line; do
                COMPREPLY+=("${line%%$'\t'*}")
            done < <(tail -n +2 <<<"$told")
            ;;
        files)
            # Where nothing is offered readline offers files.
            compopt -o default 2>/dev/null
            ;;
        command*)
            if declare -F _command_offset >/dev/null; then
                _command_offset "${told#command }"
            else
                compopt -o default 2>/dev/null
            fi
            ;;
    esac
}
complete -F _httpjail httpjail
