/*
 * Filesystem calls relative to a directory descriptor.  No function follows a
 * symbolic link in the last component.
 */
#ifndef LIB_FS_AT_H
#define LIB_FS_AT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "imgd/error.h"

/* Open the directory name below dir_fd.  Returns a CLOEXEC descriptor. */
int fs_open_dir(int dir_fd, const char *name, struct imgd_error **err);

/* Make the directory name with exactly mode, whatever the umask.
 * Returns 1 if it was made, 0 if a directory was there already. */
int fs_make_dir(int dir_fd, const char *name, mode_t mode,
    struct imgd_error **err);

/* fs_make_dir, then fs_open_dir. */
int fs_make_open_dir(int dir_fd, const char *name, mode_t mode,
    struct imgd_error **err);

/* Remove name and all below it, on its own filesystem only (-EXDEV at a
 * mount point).  Absent is success. */
int fs_remove_tree(int dir_fd, const char *name, struct imgd_error **err);

/* What should have been at "to" is lost: move the directory "from" there and
 * leave an empty one.  Returns -1 and errno on failure, also if something is
 * at "to". */
int fs_move_lost(int to_dir, const char *to, int from_dir, const char *from);

/* Read a whole regular file of at most max bytes; *ret_data is malloc'ed and
 * NUL-terminated.  ret_len may be NULL.  -EFBIG if it is longer.  With
 * AT_FDCWD name is a path that a user gave: there links are followed. */
int fs_read_file(int dir_fd, const char *name, size_t max, char **ret_data,
    size_t *ret_len, struct imgd_error **err);

/* The same with a file that is open, from where it stands; name is for
 * messages. */
int fs_read_fd(int fd, const char *name, size_t max, char **ret_data,
    size_t *ret_len, struct imgd_error **err);

/*
 * Whether the filesystem of dir_fd still takes changes; a full one does.
 * What was synced before is then on the disk: an ext4 that stops at an error
 * while a sync waits for its journal may drop what was to be written and say that
 * all is well (fsync and syncfs of Linux 6.18), but begins no change from then
 * on.  dir_fd must be open for reading.
 */
int fs_check_alive(int dir_fd, struct imgd_error **err);

/* Write all of len bytes to fd, retrying short writes and EINTR. */
int fs_write_all(int fd, const void *data, size_t len,
    struct imgd_error **err);

/*
 * fsetxattr for trusted.*; fd may be path-only.  In a user namespace, where that is out of reach,
 * overlayfs's mark of an opaque directory is set as user.overlay.opaque, where
 * it looks for it when mounted with userxattr.
 * Returns -1 and errno on failure.
 */
int fs_set_trusted(int fd, const char *name, const void *value, size_t len);

/*
 * Whether an extended attribute says how layers stack, to overlayfs or to
 * fuse-overlayfs, and nothing of what they hold.  One that an image brings
 * could hide what is below or show another file in its place.
 */
bool fs_attr_is_stacking(const char *name);

/* "/proc/self/fd/N": a path that names what fd is open on. */
const char *fs_fd_path(int fd, char buf[32]);

/* The absolute path that fd is open on, malloc'ed. */
int fs_real_path(int fd, char **ret_path, struct imgd_error **err);

/* What names this run of the kernel; malloc'ed. */
int fs_boot_id(char **ret, struct imgd_error **err);

/* Whether path is a mount point, by /proc/self/mountinfo. */
int fs_is_mount_point(const char *path, struct imgd_error **err);

/* Take down every mount of this namespace whose mount point begins with prefix,
 * at once, whoever uses it. */
int fs_detach_mounts(const char *prefix, struct imgd_error **err);

#endif
