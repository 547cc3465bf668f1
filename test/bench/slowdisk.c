/*
 * slowdisk.c: LD_PRELOADed into every server of the bench: fsync() and fdatasync() take longer, as if the disk were slower.
 *
 * The file named by NODEDB_SLOWDISK holds the microseconds to add, as a 32-bit number; it is mapped, so the bench changes it while servers run. The
 * thread sleeps, as it would for a device: processors are free meanwhile, and several syncs overlap as they do on a disk that has a queue.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int	(*real_fsync) (int);
static int	(*real_fdatasync) (int);
static const volatile uint32_t *extra_us;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("NODEDB_SLOWDISK");
	int			fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	void	   *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*extra_us), PROT_READ, MAP_SHARED, fd, 0);

	real_fsync = (int (*) (int)) dlsym(RTLD_NEXT, "fsync");
	real_fdatasync = (int (*) (int)) dlsym(RTLD_NEXT, "fdatasync");
	if (fd >= 0)
		close(fd);
	if (map != MAP_FAILED)
		extra_us = map;
}

static int slow(int result)
{
	uint32_t	us = extra_us == NULL ? 0 : *extra_us;
	struct timespec t = {us / 1000000, (long) (us % 1000000) * 1000};

	while (us > 0 && nanosleep(&t, &t) != 0)
		;
	return result;
}

int fsync(int fd)
{
	return slow(real_fsync(fd));
}

int fdatasync(int fd)
{
	return slow(real_fdatasync(fd));
}
