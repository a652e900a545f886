# What must be there after all that crash-guest.sh said: "NAME yes", "no" or
# "maybe", when the last thing was begun and not told to be done.
$1 == "PULLING" || $1 == "MAKING" { if (state[$2] != "yes") state[$2] = "maybe" }
$1 == "PULLED" || $1 == "MADE" { state[$2] = "yes" }
$1 == "REMOVING" || $1 == "UNMAKING" { state[$2] = "maybe" }
$1 == "REMOVED" || $1 == "UNMADE" { state[$2] = "no" }
END { for (name in state) print name, state[name] }
