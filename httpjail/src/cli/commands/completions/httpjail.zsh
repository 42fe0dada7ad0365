#compdef httpjail
# Completes httpjail's words by asking it, and the jailed command's own by whatever completes those.
_httpjail() {
    local line self=${(Q)words[1]}
    local -a told values shown
    self=${~self}
    told=("${(@f)$($self completions zsh -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    case $told[1] in
        words)
            for line in "${(@)told[2,-1]}"; do
                values+=("${line%%$'\t'*}")
                shown+=("${line/$'\t'/  -- }")
            done
            compadd -l -d shown -a values
            ;;
        files)
            compset -P '--*='
            _files
            ;;
        command*)
            shift ${told[1]#command } words
            (( CURRENT -= ${told[1]#command } ))
            _normal
            ;;
    esac
}
if [[ $funcstack[1] == _httpjail ]]; then
    _httpjail "$@"
else
    compdef _httpjail httpjail
fi
