# Compiler settings of our own code, as one INTERFACE target. Engines never see them.
add_library(stoker_options INTERFACE)
target_include_directories(stoker_options INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_options(stoker_options INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough -Wnull-dereference
  -fno-omit-frame-pointer -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports these falsely inside inlined standard library and fmt code.
  target_compile_options(stoker_options INTERFACE -Wno-null-dereference -Wno-maybe-uninitialized
    -Wno-missing-field-initializers -Wno-restrict -Wno-dangling-pointer -Wno-stringop-overflow
    -Wno-array-bounds -Wno-stringop-overread)
else()
  # The second: libstdc++ 12's own stable_sort uses what it deprecates.
  target_compile_options(stoker_options INTERFACE -Wno-missing-designated-field-initializers
    -Wno-deprecated-declarations -Wno-missing-field-initializers)
endif()
target_compile_definitions(stoker_options INTERFACE _GNU_SOURCE STOKER_VERSION="${PROJECT_VERSION}")
target_link_options(stoker_options INTERFACE -Wl,-z,relro,-z,now)

if(STOKER_SANITIZE)
  set(sanitize_flags -fsanitize=${STOKER_SANITIZE} -fno-sanitize-recover=all)
  if(STOKER_SANITIZE MATCHES "undefined")
    # AddressSanitizer catches what the first two are for, x86 forgives the third, and together they
    # double the time of a build.
    list(APPEND sanitize_flags -fno-sanitize=null,object-size,alignment)
  endif()
  if(STOKER_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND sanitize_flags -Wno-tsan)  # the fence in the standard library's own shared_ptr
  endif()
  target_compile_options(stoker_options INTERFACE ${sanitize_flags} -O1 -g1)
  target_link_options(stoker_options INTERFACE -fsanitize=${STOKER_SANITIZE})
else()
  # STOKER_LIGHT marks what is compiled often and runs seldom: tests and the command line.
  target_compile_options(stoker_options INTERFACE
    $<$<CONFIG:Release>:$<IF:$<BOOL:$<TARGET_PROPERTY:STOKER_LIGHT>>,-O1,-O2> -g1>)
  target_compile_definitions(stoker_options INTERFACE $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()

# stoker_count_coverage(TARGET [OPTION...]): under STOKER_COVERAGE counts which of its lines and branches
# run, and compiles it with these options.
function(stoker_count_coverage target)
  if(STOKER_COVERAGE)
    target_compile_options(${target} PRIVATE --coverage -fprofile-abs-path ${ARGN})
    target_link_options(${target} PUBLIC --coverage)
  endif()
endfunction()

find_program(STOKER_CCACHE ccache)
if(STOKER_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${STOKER_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${STOKER_CCACHE}")
endif()

if(STOKER_CLANG_TIDY)
  find_program(STOKER_CLANG_TIDY_EXE NAMES clang-tidy-19 REQUIRED)
endif()
