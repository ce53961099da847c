# The suites of the instance backends, and the programs that they run.
add_executable(tiny_worker ${CMAKE_CURRENT_LIST_DIR}/servers/tiny_worker.cpp)
target_link_libraries(tiny_worker PRIVATE stoker_options Threads::Threads)
set_target_properties(tiny_worker PROPERTIES OUTPUT_NAME stoker-worker-tiny
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/test_workers")
add_executable(backend_owner ${CMAKE_CURRENT_LIST_DIR}/servers/backend_owner.cpp)
target_link_libraries(backend_owner PRIVATE stoker_backend)

foreach(suite backend_contract process_backend)
  add_executable(${suite}_test ${CMAKE_CURRENT_LIST_DIR}/${suite}_test.cpp)
  target_link_libraries(${suite}_test PRIVATE stoker_backend GTest::gtest_main)
  target_compile_definitions(${suite}_test PRIVATE
    STOKER_TEST_WORKERS="${CMAKE_BINARY_DIR}/test_workers"
    STOKER_TEST_OWNER="$<TARGET_FILE:backend_owner>")
  add_dependencies(${suite}_test tiny_worker backend_owner)
  add_test(NAME contract.${suite} COMMAND ${suite}_test)
  set_tests_properties(contract.${suite} PROPERTIES LABELS quick TIMEOUT ${long_timeout})
endforeach()
if(TARGET stoker-worker-echo)
  target_sources(process_backend_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/backend_echo_test.cpp)
  target_compile_definitions(process_backend_test PRIVATE
    STOKER_TEST_BIN="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_dependencies(process_backend_test stoker-worker-echo)
endif()
