# bash completion for imgd(8).  Verbs and options are asked of the program, which
# prints its table of verbs; names are those of the store.

_imgd_verbs() {
	"$1" help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *.*/\1/p'
}

# The options in a verb's usage: its first line.
_imgd_options() {
	"$1" help "$2" 2>/dev/null | sed -n 1p |
	    grep -Eo -- '(^|[[ |])--?[a-zA-Z][a-z0-9-]*' | tr -d '[ |' | sort -u
}

_imgd_images() {
	"$@" images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null |
	    grep -v '<none>'
}

_imgd_containers() {
	"$@" create 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_imgd_values() { # PROGRAM OPTION
	case $2 in
	--driver | --from | --to)
		"$1" driver ls 2>/dev/null | awk 'NR > 1 { print $1 }'
		;;
	--compression) printf '%s\n' gzip zstd ;;
	--log-level | -l) printf '%s\n' warn info debug ;;
	esac
}

_imgd() {
	local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]}
	local before=${COMP_WORDS[COMP_CWORD - 1]} verb='' words i
	local globals=(--root --host --config --driver-opt --debug)
	local store=("$program")

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--root | --host | -H | --config)
			store+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}")
			((i++))
			;;
		--driver-opt | --debug) ((i++)) ;;
		-*) ;;
		*)
			verb=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	words=$(_imgd_values "$program" "$before")
	if [[ -z $words ]]; then
		if [[ -z $verb && $word == -* ]]; then
			words=${globals[*]}
		elif [[ -z $verb ]]; then
			words=$(_imgd_verbs "$program")
		elif [[ $word == -* ]]; then
			words=$(_imgd_options "$program" "$verb")
		else
			case $verb in
			help) words=$(_imgd_verbs "$program") ;;
			driver) words='ls info test' ;;
			bundle | inspect | history | tag | rmi | create | push | \
			    pull | save | migrate)
				words=$(_imgd_images "${store[@]}")
				;;
			mount | umount | export)
				words="$(_imgd_images "${store[@]}")
				    $(_imgd_containers "${store[@]}")"
				;;
			diff | rm | commit)
				words=$(_imgd_containers "${store[@]}")
				;;
			esac
		fi
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	# A colon is a word's end to readline.
	declare -F __ltrim_colon_completions >/dev/null &&
	    __ltrim_colon_completions "$word"
}

complete -o default -F _imgd imgd
