# Writes OUT, a header with the commit of the sources in SOURCE, when it would say
# something else than it does. Run at each build: a commit is no change of the
# configuration. "unknown" without git or outside a checkout, as from a tarball.
set(revision unknown)
find_program(GIT git)
if(GIT AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT} -C ${SOURCE} rev-parse --short=12 HEAD
                  OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
  if(NOT failed)
    set(revision ${head})
    execute_process(COMMAND ${GIT} --no-optional-locks -C ${SOURCE} status --porcelain --untracked-files=no
                    OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT changes STREQUAL "")
      string(APPEND revision -dirty)
    endif()
  endif()
endif()
set(text "#define LEEWARD_REVISION \"${revision}\"\n")
set(written "")
if(EXISTS ${OUT})
  file(READ ${OUT} written)
endif()
if(NOT text STREQUAL written)
  file(WRITE ${OUT} ${text})
endif()
