/* file-path.h - where a file really is, and what is beside it; all return owned */
#ifndef MINIVMM_MIGRATION_FILE_PATH_H
#define MINIVMM_MIGRATION_FILE_PATH_H

char *file_directory_of(const char *path);
/* A name beside 'path' that does not exist yet, with room for mkostemp's letters. */
char *file_temp_template(const char *path);
/* Where the bytes really are: rename must not replace a symbolic link by a file. */
char *file_real_path(const char *path);

#endif
