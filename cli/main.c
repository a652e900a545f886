#include "config.h"

#include <stdio.h>

int
main(void)
{
	(void)puts("imgd " PACKAGE_VERSION);
	return 0;
}
