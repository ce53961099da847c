# stoker_library(NAME [LINK targets...] [PRIVATE_LINK targets...])
# Makes stoker_NAME from all *.cpp in the calling folder. One folder is one library, so that the
# link graph is the architecture; tests/unit/tidy checks that includes follow it.
function(stoker_library name)
  cmake_parse_arguments(ARG "" "" "LINK;PRIVATE_LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  add_library(stoker_${name} STATIC ${sources})
  target_link_libraries(stoker_${name} PUBLIC stoker_options ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
  if(STOKER_CLANG_TIDY)
    set_target_properties(stoker_${name} PROPERTIES CXX_CLANG_TIDY "${STOKER_CLANG_TIDY_EXE};--warnings-as-errors=*")
  endif()
endfunction()
