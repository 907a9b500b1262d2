/* file-open.c - opening a disk image, whatever its format */
#include "devices/block/file-open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

int file_open(const char *filename, bool writable, bool direct, struct err *err)
{
	/* O_NONBLOCK: a FIFO must not hang us before we know what it is. */
	int flags = O_CLOEXEC | O_NONBLOCK | (writable ? O_RDWR : O_RDONLY);
	int fd;

	fd = path_open(filename, flags | (direct ? O_DIRECT : 0), 0, err);
	if (fd == -EINVAL && direct && !path_is_fdset(filename))
		return err_set(err, EINVAL,
			       "Could not open '%s': its file system does not support O_DIRECT",
			       filename);
	return fd;
}

int file_bytes(int fd, const char *filename, uint64_t *bytes, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "Could not open '%s': %s", filename, err_text(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(err, EISDIR, "Could not open '%s': %s", filename, err_text(EISDIR));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return err_set(err, errno, "Could not get the size of '%s': %s", filename,
				       err_text(errno));
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL,
			       "Could not open '%s': neither a regular file nor a block device",
			       filename);
	*bytes = (uint64_t)st.st_size;
	return 0;
}

bool file_check_direct(int fd, const char *filename)
{
	bool direct = true;
	void *sector;

	if (posix_memalign(&sector, PAGE_BYTES, PAGE_BYTES))
		return true;
	if (pread(fd, sector, FILE_SECTOR_BYTES, 0) < 0 && errno == EINVAL &&
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT) == 0) {
		log_warn("'%s' has sectors of more than %d bytes: the host's page cache is used",
			 filename, FILE_SECTOR_BYTES);
		direct = false;
	}
	free(sector);
	return direct;
}
