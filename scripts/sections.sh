# shellcheck shell=bash
# The sections of scripts/test: what runs one, counts its tests and times it, alone or in a lane beside others.
#
# Owns: the results so far, and the processes of lanes. Always holds: what a section of a lane says is shown whole when it has
# ended, never between the lines of another one; a section counts once, wherever it ran; a lane that ends before its last
# section is a failure. Leaves to scripts/test: what sections there are, and which may run beside which.

sections_dir=
lane=
lanes=()
# Whether lanes run beside each other.
beside=

# begin_sections: makes place for results. What it leaves is gone when the script ends, and so are lanes that still run.
begin_sections() {
    sections_dir=$(mktemp -d)
    : >"$sections_dir/results"
    trap end_sections EXIT
}

end_sections() {
    local one pid running
    for one in "${lanes[@]}"; do
        pid=${one%%:*}
        # A lane is a process group of its own: what its section has started goes with it.
        kill -TERM -- "-$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    # Of a lane that was cut off nobody has seen anything yet.
    for running in "$sections_dir"/running.*; do
        [ -f "$running" ] || continue
        printf '\n=== %s, CUT OFF; its last lines:\n' "$(cat "$running")"
        tail -n 40 "$sections_dir/output.${running##*.}"
    done
    rm -rf "$sections_dir"
}

# step NAME COMMAND...: runs one section. Tests are counted by the lines cargo prints at the end of each test binary; a
# section that prints none of them counts as one check. Its last line says how long it took and how much of a core it wanted
# meanwhile: what waits and what works are shortened in different ways.
step() {
    local name=$1 self=$BASHPID status=0 started=$SECONDS output cpu_before
    shift
    is_wanted "$name" || return 0
    output=$sections_dir/output.$self
    cpu_before=$(cpu_seconds "$self")
    if [ -n "$lane" ]; then
        in_turn printf '... %s begins (%s)\n' "$name" "$lane"
        printf '%s' "$name" >"$sections_dir/running.$self"
        "$@" >"$output" 2>&1 </dev/null || status=$?
        rm "$sections_dir/running.$self"
    else
        printf '\n=== %s\n' "$name"
        "$@" 2>&1 </dev/null | tee "$output" || status=${PIPESTATUS[0]}
    fi
    local counts
    counts=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; .*/\1 \2/p' "$output" |
        awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }')
    local passed=${counts% *} failed=${counts#* } left_out=0
    # A check that is not a test binary, and a test binary that ended before it could count, say it by their status. What this
    # machine cannot do at all says so by 77.
    if [ "$status" -eq 77 ]; then
        left_out=1
    elif [ "$status" -eq 0 ] && [ "$passed" -eq 0 ]; then
        passed=1
    elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
    fi
    printf '%s\t%s\t%s\t%s\n' "$passed" "$failed" "$left_out" "$name" >>"$sections_dir/results"
    if [ "$failed" -gt 0 ]; then say_why "$name" "$failed" "$output" >>"$sections_dir/failures"; fi
    local last
    last=$(printf -- '--- %s: %s passed, %s failed (%s s, %s s of CPU)' "$name" "$passed" "$failed" \
        "$((SECONDS - started))" "$(($(cpu_seconds "$self") - cpu_before))")
    if [ -n "$lane" ]; then in_turn show_section "$name" "$output" "$last"; else printf '%s\n' "$last"; fi
}

# say_why NAME FAILED OUTPUT: what a section failed with, in few lines: where only the end of what is printed can be read, that is
# enough to know where to look.
say_why() {
    printf 'FAILED  %s: %s failed\n' "$1" "$2"
    {
        sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$3" | awk 'NR <= 5'
        { grep -aE 'panicked at|^ *✖ |^ *(not ok|Error|AssertionError|error|left:|right:|actual:|expected:)' "$3" || tail -n 5 "$3"; } |
            awk '!seen[$0]++ && ++shown <= 12'
    } | cut -c 1-160 | sed 's/^/        /'
}

show_section() {
    printf '\n=== %s\n' "$1"
    cat "$2"
    printf '%s\n' "$3"
}

# in_turn COMMAND...: runs it while no other lane writes.
in_turn() {
    { flock 9; "$@"; } 9>"$sections_dir/turn"
}

# begin_lane NAME NICENESS FUNCTION: has a function run its sections, one after the other, beside what follows. What only works
# is given a niceness: it gets what others leave of the cores, and none of their clocks is late because of it.
# Where lanes are not asked for (`beside`), it runs them at once.
begin_lane() {
    local name=$1 niceness=$2 function=$3
    if [ -z "$beside" ]; then
        "$function"
        return 0
    fi
    set -m
    (
        set +m
        lane=$name
        renice -n "$niceness" -p "$BASHPID" >/dev/null
        "$function"
    ) &
    lanes+=("$!:$name")
    set +m
}

# join_lanes [NAME...]: waits for these lanes, or for all that were begun.
join_lanes() {
    local one others=()
    for one in "${lanes[@]}"; do
        if [ $# -gt 0 ] && [[ " $* " != *" ${one#*:} "* ]]; then
            others+=("$one")
            continue
        fi
        wait "${one%%:*}" ||
            printf '0\t1\t0\t%s\n' "the lane ${one#*:} has ended early, with status $?" >>"$sections_dir/results"
    done
    lanes=("${others[@]}")
}

# end_of_sections: the summary. Fails if a section has, or if there was none.
end_of_sections() {
    [ -s "$sections_dir/results" ] || die "no section's name contains any of: ${words[*]}"
    printf '\n%s s in all, %s s of CPU\n' "$SECONDS" "$(cpu_seconds $$)"
    awk -F '\t' '$3 { print "LEFT OUT  " $4 }' "$sections_dir/results"
    if [ -f "$sections_dir/failures" ]; then cat "$sections_dir/failures"; fi
    # A lane that has ended early has no section to say why.
    awk -F '\t' '$2 && $4 ~ /^the lane / { print "FAILED  " $4 }' "$sections_dir/results"
    awk -F '\t' '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed\n", passed, failed; exit failed > 0 }' \
        "$sections_dir/results"
}

# is_wanted NAME: whether the section is to run. Without words on the command line every one is.
is_wanted() {
    local word
    [ ${#words[@]} -gt 0 ] || return 0
    for word in "${words[@]}"; do
        if [[ $1 == *"$word"* ]]; then return 0; fi
    done
    return 1
}

# cpu_seconds PROCESS: whole seconds of CPU that the programs which it has waited for have taken, by the kernel's account.
cpu_seconds() {
    # The name in brackets may hold spaces; behind it the fields begin with the third.
    sed -E 's/.*\) //' "/proc/$1/stat" | awk -v ticks="$(getconf CLK_TCK)" '{ printf "%d", ($14 + $15) / ticks }'
}
