# Completes httpjail's words by asking it, and the jailed command's own by whatever completes those.
function __httpjail_complete
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l told ($typed[1] completions fish -- $typed "$current" 2>/dev/null)
    switch "$told[1]"
        case words
            printf '%s\n' $told[2..]
        case files
            # One that is empty, where there is none.
            set -l option (string match -r -- '^--[^=]*=' $current; or echo)
            printf '%s\n' $option(__fish_complete_path (string replace -r -- '^--[^=]*=' '' $current))
        case 'command *'
            set -l first (math (string replace 'command ' '' $told[1]) + 1)
            complete -C (string join ' ' -- (string escape -- $typed[$first..]) "$current")
    end
end
complete -c httpjail -f -k -a '(__httpjail_complete)'
