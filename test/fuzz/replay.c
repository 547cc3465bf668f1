/*
 * replay.c: runs a fuzz target over files, and over the files of folders; ends with `N passed, 0 failed`. One that fails ends the process:
 * its name is the last line of the output before what the sanitizer says.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned passed;

static void replay_file(const char *path, size_t size)
{
	FILE	   *file = fopen(path, "rb");
	uint8_t    *data = malloc(size);	/* of just this size: the sanitizer sees a read behind it */

	if (file == NULL || (size > 0 && (data == NULL || fread(data, 1, size, file) != size)))
	{
		fprintf(stderr, "%s cannot be read\n", path);
		exit(1);
	}
	fclose(file);
	fprintf(stderr, "%s\n", path);
	(void) LLVMFuzzerTestOneInput(data, size);
	free(data);
	passed++;
}

static void replay(const char *path)
{
	struct stat st;
	struct dirent **names;
	int			n;

	if (stat(path, &st) != 0)
	{
		fprintf(stderr, "%s is not there\n", path);
		exit(1);
	}
	if (!S_ISDIR(st.st_mode))
	{
		replay_file(path, (size_t) st.st_size);
		return;
	}
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++)
	{
		char		below[4096];

		if (names[i]->d_name[0] != '.')
		{
			snprintf(below, sizeof(below), "%s/%s", path, names[i]->d_name);
			replay(below);
		}
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	/* what no corpus should have to hold */
	(void) LLVMFuzzerTestOneInput((const uint8_t *) "", 0);
	passed++;
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	fprintf(stderr, "%u passed, 0 failed\n", passed);
	return 0;
}
