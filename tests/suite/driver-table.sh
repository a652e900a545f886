#!/bin/sh
# Print what the conformance suite found, as a table of cases and drivers:
# driver-table.sh DIR, the directory of the tests' logs.
set -- "$1"/test-*.log
for log; do
	shift
	case $log in
	*/test-suite-*) ;; # of the suite, not of a driver
	*)	set -- "$@" "$log" ;;
	esac
done
exec awk '
function column(file) {
	sub(/.*\/test-/, "", file)
	sub(/\.log$/, "", file)
	return file
}
FNR == 1 { columns[++n_columns] = column(FILENAME) }
/^(not )?ok [0-9]+ - / {
	is_ok = $1 == "ok"
	name = $0
	sub(/^(not )?ok [0-9]+ - /, "", name)
	if (!(name in seen)) {
		seen[name] = 1
		names[++n_names] = name
		if (length(name) > width)
			width = length(name)
	}
	result[name, columns[n_columns]] = is_ok ? "ok" : "FAILED"
	total[columns[n_columns]] += is_ok
}
END {
	printf "%-" width "s", "case"
	for (c = 1; c <= n_columns; c++)
		printf "  %s", columns[c]
	print ""
	for (i = 1; i <= n_names; i++) {
		printf "%-" width "s", names[i]
		for (c = 1; c <= n_columns; c++) {
			r = result[names[i], columns[c]]
			printf "  %-" length(columns[c]) "s", r != "" ? r : "-"
		}
		print ""
	}
	printf "%-" width "s", "passed"
	for (c = 1; c <= n_columns; c++)
		printf "  %-" length(columns[c]) "d", total[columns[c]]
	print ""
}' "$@"
