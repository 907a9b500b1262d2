/* image-lock.c - the byte locks of an image and of all files below it */
#include "devices/block/image.h"

int image_lock(struct image *img, struct block_perms top, bool probe, struct err *err)
{
	struct block_perms perms = top;

	for (struct image *i = img; i; i = i->backing) {
		int ret = block_lock(i->fd, i->filename, perms, probe, err);

		if (ret < 0) {
			for (; !probe && img != i; img = img->backing)
				block_unlock(img->fd);
			return ret;
		}
		perms = block_disk_perms(true, false);
		if (!top.unshared) /* what others do is their affair */
			perms.unshared = 0;
	}
	return 0;
}

void image_unlock(struct image *img)
{
	for (; img; img = img->backing)
		block_unlock(img->fd);
}
